"""What a folder of trainings says: its summary in a table and a figure, and the page of HTML."""
