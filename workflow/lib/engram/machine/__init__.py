"""Can a run start on this machine, what does it take, how long did it take; what runs share there."""
