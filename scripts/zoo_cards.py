"""What only the project knows of the models it ships, for their cards."""

from __future__ import annotations

from tfopt.reporting.card import TO_FILL_IN

_DATA = {
    "digits": (
        "UCI Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998): 8x8 "
        "images of digits written by 43 people. CC BY 4.0."
    ),
    "mnist": (
        "MNIST (Y. LeCun, C. Cortes and C. Burges, 1998): 28x28 images of digits written by "
        "employees of the US Census Bureau and by high-school students. CC BY-SA 3.0."
    ),
    "cifar10": (
        "CIFAR-10 (A. Krizhevsky, 2009): 32x32 photographs of ten kinds of animals and vehicles, "
        "gathered from the web and labelled by students. Its authors state no licence."
    ),
}
_ANSWERS = {
    "owner, version, contact.": "Owner: the tfopt project, whose version is below.",
    "what the model is for, and who uses it.": (
        "To try tfopt, its formats and an app's code with a real model: for developers."
    ),
    "what it must not be used for.": (
        "Not for any decision about people, mail, money or safety: it is an example."
    ),
    "conditions it was not tested in, and what happens if it errs.": (
        "Not tested on anything but the test images of its data set: other pens, cameras, light, "
        "sizes or kinds of things. It names one of its classes for whatever it is shown."
    ),
    "the licence of the model and of its weights, which the data may bind too. "
    "The licence of tfopt says nothing of it.": (
        "Apache-2.0, as tfopt; the licence of the data, above, may bind it too."
    ),
}
_INTRODUCTION = f"Lines with {TO_FILL_IN} wait for a person."


def filled(card: str, dataset: str) -> str:
    """Returns a model card with the lines that wait for a person filled in.

    Args:
        card: As `tfopt.reporting.card.model_card` writes it.
        dataset: What the model was trained on.

    Raises:
        ValueError: A line waits for what nobody has written here.
    """
    card = card.replace(_INTRODUCTION, "What they cannot say was written by the project.")
    answers = {
        **_ANSWERS,
        "where the data comes from, who or what is in it, its licence.": _DATA[dataset],
    }
    for question, answer in answers.items():
        card = card.replace(f"{TO_FILL_IN}: {question}", answer)
    if TO_FILL_IN in card:
        raise ValueError(f"a card waits for more: {card[card.index(TO_FILL_IN) :].splitlines()[0]}")
    return card
