"""Exactly once while the broker dies: transactional workers read, transform and write, and send their offsets with the
transaction; the broker and the workers are killed with SIGKILL and started again, some times.

Two pipelines run at once over the same input: librdkafka (transactions v1, the classic group protocol) and the Java
client (transactions v2, the consumer protocol). In the end a reader of committed records must find each input exactly
once in the sink of each.
"""

import json
import random
import signal
import subprocess
import time

from brokers import HERE, JVM

WORKERS = 2


class Pipeline:
    """The workers of one library, one group and one sink."""

    def __init__(self, name, command, logs):
        self.name, self.command, self.logs = name, command, logs
        self.sink, self.group = f"sink-{name}", f"group-{name}"
        self.workers = {}

    def start(self, number):
        log = open(self.logs / f"soak-{self.name}-{number}.log", "a")
        identity = f"{self.name}-{number}"
        self.workers[number] = subprocess.Popen([*self.command, self.sink, self.group, identity], stdout=log, stderr=log)

    def kill(self, number):
        self.workers[number].kill()
        self.workers[number].wait()

    def tell(self):
        """Has the workers write down where they are (faulthandler, and the JVM's threads)."""
        for worker in self.workers.values():
            worker.send_signal(signal.SIGQUIT if self.name == "java" else signal.SIGUSR1)
        time.sleep(0.5)

    def stop(self):
        for number in self.workers:
            self.kill(number)


def run(broker, python, classpath, classes, logs, seed, rounds, report):
    """Gives the results, one a pipeline."""
    dice = random.Random(seed)
    program = [python, str(HERE / "clients" / "soak_program.py"), "--bootstrap", broker.bootstrap]
    pipelines = [Pipeline("librdkafka", [*program, "work"], logs)]
    if classpath:
        java = [*JVM, "-cp", f"{classes}:{HERE / 'java'}:{classpath}", "Soak", broker.bootstrap]
        pipelines.append(Pipeline("java", java, logs))
    began = time.monotonic()
    results, feeder = [], None
    try:
        subprocess.run([*program, "create", *(p.sink for p in pipelines)], check=True, timeout=60)
        with open(logs / "soak-feeder.log", "w") as log:
            feeder = subprocess.Popen([*program, "feed"], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        for pipeline in pipelines:
            for number in range(WORKERS):
                pipeline.start(number)
        subprocess.run([*program, "ready", *(p.sink for p in pipelines)], check=True, timeout=90)
        for _ in range(rounds):
            time.sleep(dice.uniform(0.5, 4))
            victim = dice.choice([None, *pipelines])
            if victim:
                number = dice.randrange(WORKERS)
                victim.kill(number)
                victim.start(number)
            broker.kill()
            time.sleep(dice.uniform(0, 0.5))
            broker.again()
        feeder.stdin.close()
        fed = feeder.wait(120)
        for pipeline in pipelines:
            since = time.monotonic()
            result = {"check": f"exactly once: {pipeline.name}"}
            if fed:
                result.update(result="FAIL", detail=f"the feeder ended with {fed}, see {logs}/soak-feeder.log")
            else:
                done = subprocess.run([*program, "check", pipeline.sink, pipeline.group], capture_output=True, text=True)
                try:
                    result.update(json.loads(done.stdout))
                except ValueError:
                    result.update(result="FAIL", detail=f"{done.stdout[-200:]} {done.stderr[-600:]}")
            if result["result"] == "FAIL":
                pipeline.tell()
            result["detail"] = f"{result['detail']} (seed {seed}, {rounds} kills)"
            result["seconds"] = round(time.monotonic() - (began if pipeline is pipelines[0] else since), 1)
            report(result)
            results.append(result)
    finally:
        for pipeline in pipelines:
            pipeline.stop()
        if feeder and feeder.poll() is None:
            feeder.kill()
    return results
