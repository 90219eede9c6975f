"""Simple peers of MMGRec, one file each, fitted and ranked under the same protocol (`python -m offline baselines`)."""
