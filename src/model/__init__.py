"""What is known of a circuit: its containers, schemes, fitted numbers, priors, input, and circuit files."""
