"""The best file that a trained model gives without training it again, found by measuring.

`trials` tries ways of making the file and measures each, `choice` says which ways there are and
takes the best, `precision` keeps layers in finer numbers until a budget of accuracy is met.
"""
