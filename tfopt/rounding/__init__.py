"""Which of the two integers next to it a weight becomes, chosen for a layer's outputs.

`clipping` chooses the range of a kernel, `grid` says where its weights stand on it, `linear` sees a
layer as rows of inputs times a matrix, `adaround` learns the rounding, `gptq` makes up for each
weight's error with the next ones, `blocks` cuts a model into blocks, and `model` goes through a
model, each layer seeing what the rounded ones before it give: `capture` holds that, `errors` says
how far outputs are off.
"""
