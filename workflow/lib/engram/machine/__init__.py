"""Can a run start here, what will it take, how long did it take; the process that loads libraries for many jobs."""
