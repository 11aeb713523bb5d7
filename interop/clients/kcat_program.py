"""kcat, by its command line."""

import subprocess

import suite
from suite import equal, name


class Kcat:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def run(self, *arguments, text=""):
        done = subprocess.run(["kcat", "-b", self.bootstrap, *arguments], input=text, capture_output=True, text=True,
                              timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"kcat {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-300:]}")
        return done.stdout


def produce_consume(kcat):
    topic = name("kcat")
    lines = [f"k{n}:v{n}" for n in range(200)]
    kcat.run("-P", "-t", topic, "-p", "0", "-K", ":", text="\n".join(lines))
    found = kcat.run("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-K", ":")
    equal(found.split("\n")[:-1], lines, "lines")
    found = kcat.run("-C", "-t", topic, "-p", "0", "-o", "150", "-c", "1", "-q", "-f", "%o %k %s")
    equal(found, "150 k150 v150", "from an offset")


def codecs(kcat):
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        topic = name("kcat" + codec)
        lines = [f"{n} " + "x" * 50 for n in range(500)]
        kcat.run("-P", "-t", topic, "-p", "0", "-z", codec, text="\n".join(lines))
        found = kcat.run("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q")
        equal(found.split("\n")[:-1], lines, codec)


def headers(kcat):
    topic = name("kcat")
    kcat.run("-P", "-t", topic, "-p", "0", "-H", "a=1", "-H", "b=2", text="x")
    found = kcat.run("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%h %s")
    equal(found, "a=1,b=2 x", "headers")


def group(kcat):
    topic = name("kcat")
    kcat.run("-P", "-t", topic, "-p", "0", text="\n".join(f"v{n}" for n in range(20)))
    found = kcat.run("-G", name("g"), "-X", "auto.offset.reset=earliest", "-c", "20", "-q", topic)
    equal(len(found.split()), 20, "lines")


def metadata(kcat):
    assert "broker" in kcat.run("-L"), "no broker is listed"


def offset_for_time(kcat):
    topic = name("kcat")
    kcat.run("-P", "-t", topic, "-p", "0", text="a\nb")
    assert "offset 0" in kcat.run("-Q", "-t", f"{topic}:0:1"), "offset for a time"


suite.CHECKS[:] = [
    ("produce and consume", produce_consume),
    ("codecs", codecs),
    ("headers", headers),
    ("timestamps", offset_for_time),
    ("group commits", group),
    ("admin: the cluster", metadata),
]

if __name__ == "__main__":
    suite.run(Kcat)
