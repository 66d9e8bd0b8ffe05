"""What one reads off an activity or a spike train: switches, dwell times, smoothed rates, correlations."""
