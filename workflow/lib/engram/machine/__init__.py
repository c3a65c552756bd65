"""Can a run start on this machine, what will it take, how long did it take."""
