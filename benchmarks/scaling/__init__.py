"""How the offline jobs behave as the log grows: a generator of logs, stages that are timed, and what they add up to.

| file | holds |
|---|---|
| `interactions.py` | a made-up log of any size, as a dataset folder |
| `measured_run.py` | a run folder that notes time and peak memory of every stage |
| `stages.py` | all stages of one size |
| `growth.py` | what grew faster than the log, and the bars |
"""
