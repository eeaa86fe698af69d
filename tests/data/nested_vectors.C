// Writes nested_vectors.root, whose lists of lists uproot can read but not write: root -l -b -q tests/data/nested_vectors.C
#include <vector>
#include "TFile.h"
#include "TTree.h"

void nested_vectors() {
    TFile file("nested_vectors.root", "RECREATE");
    int run = 3, subrun = 4, event = 0;
    std::vector<int> slices;
    std::vector<std::vector<int>> channels;
    TTree activity("Trun", "");
    activity.Branch("runNo", &run);
    activity.Branch("subRunNo", &subrun);
    activity.Branch("eventNo", &event);
    activity.Branch("timesliceId", &slices);
    activity.Branch("timesliceChannel", &channels);
    std::vector<double> charges;
    TTree live("TC", "");
    live.Branch("q", &charges);
    live.Branch("wire_index_u", &channels);
    for (event = 10; event < 13; ++event) {
        slices.clear(), channels.clear(), charges.clear();
        for (int slice = 0; slice < event - 9; ++slice) {
            slices.push_back(slice);
            channels.push_back(std::vector<int>(slice, event));
            charges.push_back(slice + 0.5);
        }
        activity.Fill(), live.Fill();
    }
    file.Write();
}
