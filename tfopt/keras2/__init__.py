"""tf_keras models: choosing the libraries, copying layers, flattening, reading and writing files.

`stack` imports TF-MOT without side effects, `copying` makes exact copies of layers, `graph` finds a
model's layer calls (tracing subclassed models), `flatten` repeats them without nesting, `files`
tells what a file holds and reads it, `wrapped` stores what tf_keras' own formats lose of a model
that TF-MOT has wrapped, `names` keeps layer names unique. `rules` puts what the user says in the
place of custom layers, `protocols` asks custom layers for their kernels, `comparing` measures how
far two results are apart.
"""
