"""What a fit leaves behind: its folder, its record, checkpoints, tables; and several fits at once."""
