"""Estimators beside those of the paper: EM on innovations, the particle filter, the curvature at a fit."""
