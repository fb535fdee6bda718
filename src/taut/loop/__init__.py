"""The loop: runs solvers, keeps a trace, decides when to stop and says why."""
