"""Where the work of a stage is done: in processes of this machine, or of many."""
