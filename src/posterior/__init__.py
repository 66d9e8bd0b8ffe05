"""From a point to a posterior: what the recorded spikes say about the parameters, with the activity integrated out."""
