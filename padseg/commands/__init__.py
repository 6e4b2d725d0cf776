"""The commands of the command line, one file each: their options, and the call that does the work."""
