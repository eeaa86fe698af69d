"""Sweeps: a search space becomes trials, and trials become jobs, here or on a batch system; nothing is lost.

  python -m wirecell_ml.hpo search=roinet site=local trials=12           a study of RoiNet on this machine, now
  python -m wirecell_ml.hpo search=roinet site=slurm_local               the same through Slurm
  python -m wirecell_ml.hpo --config-dir ~/sites site=my_cluster driver=detached      the terminal may be closed
  python -m wirecell_ml.hpo sweep='model.norm=batch,instance optimizer.lr=tag(log,interval(1e-3,1e-2))'
  python -m wirecell_ml.hpo search=roinet sampler=random pruner=median experiment=roinet_pdsp data.files=/my/events
  python -m wirecell_ml.hpo … dry_run=true           what would be sent, exactly

  python -m wirecell_ml.hpo status study=NAME        how it stands (watch=true: live)
  python -m wirecell_ml.hpo resume study=NAME        drive it on, after a crash, a stop, or with trials=100 for more
  python -m wirecell_ml.hpo stop   study=NAME        running trials end first; how=checkpoint: now
  python -m wirecell_ml.hpo why    study=NAME trial=7          what happened to a trial, and why
  python -m wirecell_ml.hpo report study=NAME        a page with pictures, and a copy for optuna-dashboard
  python -m wirecell_ml.hpo best   study=NAME        the best trial as an experiment that wirecell_ml.train takes

A setting that is not in configs/hpo.yaml goes to the training of every trial. Groups, each a folder of configs/ whose
files say what every setting means:
"""

import sys

from wirecell_ml import cli

OWN = [
    *("study", "folder", "ledger", "site", "driver", "dry_run", "takeover"),
    *("search", "sweep", "objectives", "sampler", "pruner", "trials", "trial_seed", "program", "each"),
]
FOLLOW_UP = ("how", "trial", "watch", "output")  # settings of the verbs about a study that there is
GROUPS = ("search", "sampler", "pruner", "site")


def main() -> None:
    """Run what the command line asks for."""
    from wirecell_ml.hpo import verbs
    from wirecell_ml.submit.running import perform

    actions = {
        "start": verbs.start,
        "status": verbs.status,
        "resume": verbs.resume,
        "drive": verbs.drive_on,
        "stop": verbs.stop,
        "why": verbs.why,
        "report": verbs.report,
        "best": verbs.best,
    }
    perform(sys.argv[1:], actions, [*OWN, *FOLLOW_UP])


if __name__ == "__main__":
    cli.run(main, groups=GROUPS)
