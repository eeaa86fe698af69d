"""One search of iDDS's HPO service, by its own code: idds_hpo.py ORDER.json, in the environment that idds.sh makes.

Its agents would run the steering through HTCondor and the evaluations through PanDA; here both run at once, one after
the other, with the scripts, files, tables and REST calls of the service. Each evaluation has a folder of its own.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from idds.atlas.workflowv2.atlashpowork import ATLASHPOWork  # type: ignore[import-not-found]
from idds.client.hpoclient import HPOClient  # type: ignore[import-not-found]
from idds.common import constants as words  # type: ignore[import-not-found]
from idds.orm import collections, contents, transforms  # type: ignore[import-not-found]

KINDS = {"inputs": words.ContentRelationType.Input, "outputs": words.ContentRelationType.Output}


class Search:
    """A search as the service keeps it: an ATLASHPOWork, and its rows in the tables."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order, self.folder = order, Path(order["folder"])
        self.request_id, self.workload_id = (10**9 + secrets.randbelow(10**9) for _ in range(2))
        executable, _, arguments = order["steering"].partition(" ")
        self.work = ATLASHPOWork(
            executable=executable,
            arguments=arguments,
            method="container",
            output_json="output.json",
            opt_space=order["space"],
            max_points=order["max_points"],
            num_points_per_iteration=order["points"],
            agent_attributes={"atlashpowork": {}},
        )
        self.work.set_workdir(str(self.folder / "steering"))
        self.client = HPOClient(host=order["host"], auth=order["auth"])
        self.maps: dict[int, Any] = {}
        self.add_rows()

    def add_rows(self) -> None:
        """Write what the service would have of this search before its first point."""
        ids = {"request_id": self.request_id, "workload_id": self.workload_id}
        kind = words.TransformType.HyperParameterOpt
        self.transform_id = transforms.add_transform(transform_type=kind, transform_metadata={}, **ids)
        for name, coll_id in (
            (self.work._primary_input_collection, words.CollectionRelationType.Input),
            (self.work._primary_output_collection, words.CollectionRelationType.Output),
        ):
            coll = self.work.collections[name]
            coll.coll_id = collections.add_collection(
                scope=coll.scope, name=coll.name, transform_id=self.transform_id, relation_type=coll_id, **ids
            )

    def steer(self, generation: int) -> list[dict[str, Any]]:
        """Run the steering once, as the script that the service writes; return the new points."""
        processing = {"request_id": self.request_id, "workload_id": self.workload_id, "processing_id": generation}
        script, error = self.work.generate_processing_script(processing)
        assert script, error
        place = self.work.get_working_dir(processing)
        ended = subprocess.run(["/bin/bash", script], cwd=place, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        points, _ = self.work.parse_processing_outputs(processing)
        found: list[dict[str, Any]] = points
        return found

    def add_points(self, points: list[dict[str, Any]]) -> list[int]:
        """Give new points their numbers, in the tables."""
        new = self.work.generate_new_input_output_maps(self.maps, points)
        for number, of in new.items():
            for side, kind in KINDS.items():
                ids = {"request_id": self.request_id, "workload_id": self.workload_id}
                rows = [one | ids | self.row(number, kind) for one in of[side]]
                contents.add_contents(rows)
                of[side] = rows
        self.maps |= new
        return list(new)

    def row(self, number: int, kind: Any) -> dict[str, Any]:
        """Return what else a row of the table has."""
        return {"transform_id": self.transform_id, "map_id": number, "content_relation_type": kind}

    def evaluate(self, number: int) -> dict[str, Any]:
        """Evaluate one point as a PanDA job does, and register its loss; return what the job said."""
        (point,) = self.client.get_hyperparameters(self.workload_id, self.request_id, id=number)
        place = self.folder / f"evaluation-{number}"
        place.mkdir(parents=True)
        (place / "input.json").write_text(json.dumps(point["parameters"]))
        subprocess.run(self.order["evaluation"], shell=True, cwd=place, check=False)  # noqa: S602  (as there)
        said: dict[str, Any] = json.loads((place / "output.json").read_text())
        if said.get("status", 0) == 0:
            self.client.update_hyperparameter(self.workload_id, self.request_id, number, said["loss"])
        self.maps[number]["outputs"][0]["status"] = words.ContentStatus.Available  # or given up after three times
        return said

    def run(self) -> dict[str, Any]:
        """Run the search until its steering proposes nothing."""
        said: dict[int, Any] = {}
        generations: list[int] = []
        while points := self.steer_next(len(generations)):
            numbers = self.add_points(points)
            generations.append(len(numbers))
            said |= {number: self.evaluate(number) for number in numbers}
        known = self.client.get_hyperparameters(self.workload_id, self.request_id)
        return {"generations": generations, "known": known, "said": said}

    def steer_next(self, generation: int) -> list[dict[str, Any]]:
        """Run the steering for as many points as there is room for, none in the end."""
        assert self.work.get_unfinished_points(self.maps) == 0
        self.work.points_to_generate = min(self.order["points"], self.order["max_points"] - len(self.maps))
        return self.steer(generation)


if __name__ == "__main__":
    result = Search(json.loads(Path(sys.argv[1]).read_text())).run()
    Path(sys.argv[1]).with_suffix(".result").write_text(json.dumps(result))
