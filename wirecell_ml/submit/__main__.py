"""One training as a job, at any site, and the check of a site.

  python -m wirecell_ml.submit experiment=roinet_pdsp data.files=/my/events site=slurm_local
  python -m wirecell_ml.submit --config-dir ~/sites site=my_cluster driver=detached trainer.max_epochs=20
  python -m wirecell_ml.submit … dry_run=true             what would be sent, exactly
  python -m wirecell_ml.submit resume study=NAME          drive it on, after a crash or a stop
  python -m wirecell_ml.submit check site=slurm_local     send three tiny units, and see what works there
  python -m wirecell_ml.submit login site=panda           log in where a site asks for it, in a browser

  python -m wirecell_ml.submit calibrate site=slurm_local experiment=roinet_pdsp     how fast a training is there
  python -m wirecell_ml.submit simulate                   how fast and at what price invented days would have gone
  python -m wirecell_ml.submit record study=NAME output=day.yaml     a study that was, as such a day

`python -m wirecell_ml.hpo status`, `stop` and `why` work on such a job. A setting that is not in configs/submit.yaml
goes to the training. Groups, each a folder of configs/ whose files say what every setting means:
"""

import sys

from wirecell_ml import cli

OWN = ("study", "folder", "ledger", "site", "driver", "dry_run", "takeover")
VERBS = ("output", "days", "policies", "seeds")  # settings of the verbs that send no training


def main() -> None:
    """Run what the command line asks for."""
    from wirecell_ml.submit import planning, single
    from wirecell_ml.submit.calibrate import calibrate
    from wirecell_ml.submit.running import perform

    actions = {
        "start": single.start,
        "resume": single.resume,
        "drive": single.drive_on,
        "check": single.check_site,
        "login": planning.log_in,
        "calibrate": calibrate,
        "simulate": planning.simulate_days,
        "record": planning.record_day,
    }
    perform(sys.argv[1:], actions, [*OWN, *VERBS])


if __name__ == "__main__":
    cli.run(main, groups=("site",))
