"""Mesoscopic models of hidden spiking neurons (neuLVM): model, likelihoods, fit and figures."""
