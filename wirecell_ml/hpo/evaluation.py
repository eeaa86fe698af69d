"""The evaluation command of PanDA's HPO service: one training at one point, and its loss.

  phpo … --evaluationExec "python -m wirecell_ml.hpo.evaluation experiment=roinet_pdsp"
  … input=input.json output=output.json       as --evaluationInput and --evaluationOutput say, which have these defaults
  … objective=val/dice direction=maximize     the metric; by default what the training monitors, and its direction
  … program=my_program                        module that trains, in place of wirecell_ml.train

Whatever else is on the command line goes to the training. It runs below ./evaluation, a unit like those of our own
studies: with --checkPointToSave evaluation the next job goes on from its checkpoint. The exit status is 0 with a loss,
2 for a setting that cannot be, 75 for a training that was checkpointed on a signal, else that of the training.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wirecell_ml import cli
from wirecell_ml.composing import Bases, Container, as_yaml, group_options
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.grammar import scalar, unpacked
from wirecell_ml.hpo.phpo import read_json
from wirecell_ml.hpo.samplers import DIRECTIONS
from wirecell_ml.schema import checked
from wirecell_ml.submit.arguments import Arguments, parse
from wirecell_ml.submit.mailbox import UnitBox, replace
from wirecell_ml.submit.ordering import TRAIN, check_program
from wirecell_ml.submit.unit import Runner

FOLDER = "evaluation"  # what --checkPointToSave names
OWN = ("input", "output", "objective", "direction", "program")
LONGEST_MINUTES = 30 * 24 * 60  # the batch system ends a job whose time is over
HEARTBEAT_S, KILL_AFTER_S = 60.0, 120.0


@dataclass(frozen=True)
class Evaluation:
    """One point, and what is sought there."""

    params: dict[str, Any]
    config: Container  # flat config of the training
    objective: str
    direction: str
    program: str
    output: Path

    def box(self) -> UnitBox:
        """Return where the training runs: another point, or another config, has another folder."""
        identity = json.dumps([self.config, self.program], sort_keys=True)
        return UnitBox(Path.cwd() / FOLDER / hashlib.sha256(identity.encode()).hexdigest()[:12])


def read_evaluation(words: Sequence[str]) -> Evaluation:
    """Return what a command line asks for; raises ConfigError for a setting that cannot be."""
    arguments = parse(words, ["evaluate"], "evaluate", OWN)
    own = {name: value for name, _, value in (word.partition("=") for word in arguments.own)}
    params = read_json(Path(own.get("input", "input.json")))
    if not isinstance(params, dict):
        raise ConfigError(f"{own.get('input', 'input.json')}: no point. It is an object of settings and their values")
    program = own.get("program", TRAIN)
    if program != TRAIN:
        check_program(program)
    config = compose_point(params, arguments)
    checked(OmegaConf.create(config))
    upwards = "maximize" if config["monitor_mode"] == "max" else "minimize"
    direction = own.get("direction", upwards)
    if direction not in DIRECTIONS:
        raise ConfigError(f"direction={direction} is not known.{suggest(direction, DIRECTIONS)}")
    output = Path(own.get("output", "output.json"))
    return Evaluation(params, config, own.get("objective") or str(config["monitor"]), direction, program, output)


def compose_point(params: dict[str, Any], arguments: Arguments) -> Container:
    """Return the flat config of the training at a point, whose settings are plain values or options of groups."""
    options = group_options(arguments.config_dirs)
    swept = {name: [str(value)] for name, value in params.items() if name in options and isinstance(value, str)}
    bases = Bases.composed(swept, ["trainer.progress=false", *arguments.training], arguments.config_dirs)
    return bases.flat({name: unpacked(name, scalar(value)) for name, value in params.items()})


def evaluate(evaluation: Evaluation) -> int:
    """Train at one point, write the loss or why there is none, and return the exit status."""
    box = evaluation.box()
    module = ["{python}", "-P", "-m", evaluation.program]
    unit = {
        "start": [*module, "--config-path", "{unit}", "--config-name", "config", "hydra.run.dir='{run}'"],
        "resume": [*module, "resume='{run}'"],
        "heartbeat_s": HEARTBEAT_S,
        "minutes": LONGEST_MINUTES,
        "kill_after_s": KILL_AFTER_S,
    }
    box.prepare(as_yaml(evaluation.config), unit, evaluation.params)
    status = Runner(box.folder, 1, FOLDER).run()
    said = outcome(box, evaluation, status)
    replace(evaluation.output, json.dumps(said) + os.linesep)
    if said["status"] and not status:
        return int(said["status"])
    return status


def outcome(box: UnitBox, evaluation: Evaluation, status: int) -> dict[str, Any]:
    """Return what the service is told: the loss, which it minimises, or why there is none."""
    result = box.result()
    if result is None:
        note = box.note(1) or {"message": "the training left no word"}
        return {"status": max(1, status), "message": note["message"]}
    value = result["metrics"].get(evaluation.objective)
    if value is None:
        reported = suggest(evaluation.objective, [name for name, one in result["metrics"].items() if one is not None])
        return {"status": 1, "message": f"the training reported no number for {evaluation.objective}.{reported}"}
    return {"status": 0, "loss": -value if evaluation.direction == "maximize" else value}


if __name__ == "__main__":
    cli.run(lambda: sys.exit(evaluate(read_evaluation(sys.argv[1:]))))
