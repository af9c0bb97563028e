"""What changing one layer at a time costs a model, and how to spread an aim over the layers by it.

`records` holds what was measured, `probes` a technique's change to one layer as other values of its
weights, `bench` runs the model with them, `measure` does so for all layers, `kept` keeps the
results on disk, `drawing` draws them; `allocation`, `zeros` and `ranks` spread an aim.
"""
