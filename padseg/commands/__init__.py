"""What each command of the command line takes, and the call that does its work: a file a command."""
