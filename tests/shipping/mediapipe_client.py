"""Classifies images with MediaPipe and a shipped folder: run in an environment with mediapipe.

Usage: mediapipe_client.py FOLDER IMAGES.npz GOAL. The images are `x`, (samples, height, width, 3)
bytes, and `y` the numbers of their classes; GOAL is the accuracy that the report claims.
"""

import sys
from pathlib import Path

import numpy as np


def main() -> int:
    folder, images, goal = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    sys.path.insert(0, str(folder))
    import mediapipe_classifier

    labels = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
    data = np.load(images)
    with mediapipe_classifier.create(results=1) as classifier:
        found = [mediapipe_classifier.classify(classifier, image)[0][0] for image in data["x"]]
    right = [name == labels[number] for name, number in zip(found, data["y"], strict=True)]
    accuracy = float(np.mean(right))
    # other kernels than tfopt.evaluate's may turn a near tie
    reached = abs(accuracy - goal) <= 2 / len(right)
    print(f"MediaPipe: accuracy {accuracy:.4f} on {len(right)} images, claimed {goal:.4f}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
