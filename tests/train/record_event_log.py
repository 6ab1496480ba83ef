#!/usr/bin/env python3
"""Records tests/data/train/events.bin: an event file as the package tensorboard writes it (its protobuf messages, its
record framing), which event_log_test.cc writes again byte by byte. Needs the package tensorboard.

Usage: record_event_log.py              writes the recording
       record_event_log.py --read DIR   prints the scalars that TensorBoard finds in a folder of event files
"""

import pathlib
import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = pathlib.Path(__file__).resolve().parents[1] / "data/train/events.bin"


def scalars(step, now, values):
    summary = summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values]
    )
    return event_pb2.Event(wall_time=now, step=step, summary=summary)


def record():
    events = [
        event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2"),
        event_pb2.Event(
            wall_time=1700000000.25, step=300, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        ),
        scalars(300, 1700000001.5, [("loss/diffusion", 8.3125), ("optimizer/rate", 1e-4)]),
        scalars(301, 1700000002.5, [("row_accuracy/größer als " + "x" * 200, 0.0)]),
        scalars(2**40, 1700000003.0, [("loss/diffusion", -1.5)]),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with open(OUT, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()


def read(folder):
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0})
    events.Reload()
    for tag in sorted(events.Tags()["scalars"]):
        print(tag, [(event.step, event.value) for event in events.Scalars(tag)])


if __name__ == "__main__":
    read(sys.argv[2]) if sys.argv[1:2] == ["--read"] else record()
