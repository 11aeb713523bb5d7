"""How a check runs Kafka's tools and looks at what they print."""

import json
import os
import re
import subprocess
import threading
import uuid

from brokers import HERE, JVM

TOOL = "org.apache.kafka.tools."


class Failed(Exception):
    pass


class Shell:
    """Kafka's tools against one broker. They share a JVM (`java/Tools.java`), unless a check needs one that it can
    end."""

    def __init__(self, classpath, classes, bootstrap, log, broker):
        self.java = [*JVM, "-cp", f"{classes}:{HERE / 'java'}:{classpath}"]
        self.bootstrap, self.log, self.broker = bootstrap, log, broker
        self.worker = None

    def command(self, main, arguments, bootstrap=True):
        words = [main if main.startswith("kafka.") else TOOL + main]
        if bootstrap:
            words += ["--bootstrap-server", self.bootstrap]
        return words + [str(a) for a in arguments]

    def run(self, main, *arguments, text="", expect=0, bootstrap=True, seconds=90):
        """Runs a tool and returns what it printed; an exit code that was not expected is a failure."""
        command = self.command(main, arguments, bootstrap)
        shown = f"{main} {' '.join(str(a) for a in arguments)}"
        if not self.worker:
            self.worker = subprocess.Popen([*self.java, "Tools"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=self.log, text=True)
        hung = threading.Timer(seconds, self.worker.kill)
        hung.start()
        try:
            self.worker.stdin.write(json.dumps({"main": command[0], "args": command[1:], "text": text}) + "\n")
            self.worker.stdin.flush()
            line = self.worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            hung.cancel()
        if not line:
            self.close()
            raise Failed(f"{shown}: hangs, or has ended the JVM")
        answer = json.loads(line)
        output, code = answer["output"], answer["code"]
        self.log.write(f"$ {shown}\n{output}[{code}]\n\n")
        self.log.flush()
        if expect is not None and code != expect:
            raise Failed(f"{shown} ended with {code}: {output.strip()[-300:]}")
        return output

    def alone(self, main, *arguments, seconds=90):
        """Runs a tool in a JVM of its own, which waits for the threads that its main method leaves behind."""
        process = self.start(main, *arguments, output=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as hung:
            process.kill()
            raise Failed(f"{main}: hangs") from hung
        self.log.write(f"$ {main} (alone)\n{output}[{process.returncode}]\n\n")
        if process.returncode != 0:
            raise Failed(f"{main} ended with {process.returncode}: {output.strip()[-300:]}")
        return output

    def start(self, main, *arguments, output=subprocess.DEVNULL):
        """A tool in a JVM of its own, which the check ends."""
        return subprocess.Popen([*self.java, *self.command(main, arguments)], stdout=output, stderr=self.log, text=True)

    def close(self):
        if self.worker:
            self.worker.kill()
            self.worker.wait()
            self.worker = None

    def topic(self, what, partitions=1, *configs):
        topic = self.name(what)
        more = [word for config in configs for word in ("--config", config)]
        self.run("TopicCommand", "--create", "--topic", topic, "--partitions", partitions, *more)
        return topic

    @staticmethod
    def name(what):
        return f"interop-{what}-{uuid.uuid4().hex[:8]}"

    def produce(self, topic, lines, *more):
        self.run("ConsoleProducer", "--topic", topic, *more, text="\n".join(lines) + "\n")

    def node(self):
        """The broker's id."""
        found = self.run("BrokerApiVersionsCommand")
        return re.search(r"\(id: (\d+) rack", found).group(1)


def has(output, *patterns):
    for pattern in patterns:
        if not re.search(pattern, output, re.MULTILINE):
            raise Failed(f"{pattern!r} is not in: {output.strip()[-600:]}")


def has_not(output, pattern):
    if re.search(pattern, output, re.MULTILINE):
        raise Failed(f"{pattern!r} should not be in: {output.strip()[-600:]}")


def equal(found, expected, what):
    if found != expected:
        raise Failed(f"{what}: found {found!r:.300}, expected {expected!r:.300}")


class TemporaryFile:
    """A file with this text, for a tool to read."""

    def __init__(self, folder, name, content):
        self.path = os.path.join(folder, name)
        with open(self.path, "w") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))

    def __str__(self):
        return self.path
