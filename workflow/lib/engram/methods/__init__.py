"""One short file an editor (ROME, MEMIT, …): how it makes a change of weights of what `engram.editing` computes.

A file has `NEEDS` (the artifacts it reads), `REGIMES` (what it can do), `Settings`, and `edit(lm, facts, settings,
aids) -> Delta`, the change for all of `facts` together in one model. It may also have `edit_each`, with the same
arguments: the changes of every fact alone, made side by side; and `remember`, what later batches must protect of this
one. engram.settings.methods loads them by name; what the head of a file imports is therefore free of torch.
"""
