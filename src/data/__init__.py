"""From a file of any format to a recording on bins, one way in."""
