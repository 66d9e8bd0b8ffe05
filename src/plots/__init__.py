"""Drawing that all share: the style, axes of one thing each, and whole figures of activity and simulation."""
