"""Nothing of neuroscience: exceptions, settings, files, text, and processes."""
