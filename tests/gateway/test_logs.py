"""The log of a gateway whose lines are not read for a while."""

import json
import logging
import os

import pytest

from llmcache_gateway.logs import LINES_WAITING, JSONFormatter, ThreadedHandler


@pytest.mark.timeout(60)
def test_lines_beyond_the_bound_are_dropped_and_their_number_is_told_once_there_is_room() -> None:
    reading, writing = os.pipe()
    with open(reading) as lines, open(writing, "w") as stream:
        handler = ThreadedHandler(stream)
        handler.setFormatter(JSONFormatter())
        logger = logging.getLogger("llmcache_gateway.logs")
        logger.addHandler(handler)
        try:
            sent = LINES_WAITING + 5_000  # a pipe takes 64 KiB, which is less than 1,000 lines
            for number in range(sent):
                handler.handle(logging.makeLogRecord({"msg": f"line {number}", "levelname": "INFO"}))
            read = [json.loads(lines.readline())]
            while "lines" not in read[-1]:
                read.append(json.loads(lines.readline()))
        finally:
            logger.removeHandler(handler)
            handler.close()
    assert read[-1]["level"] == "warning"
    numbers = [int(line["message"].removeprefix("line ")) for line in read[:-1]]
    assert numbers == sorted(set(numbers))  # each once and in order, whichever were dropped
    assert len(read) - 1 + read[-1]["lines"] == sent


def test_a_log_that_nobody_can_read_any_more_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    handler = ThreadedHandler(stream)
    for number in range(3):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.close()
    with pytest.raises(BrokenPipeError):
        stream.close()
