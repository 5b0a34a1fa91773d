"""A real YARN on loopback: a ResourceManager and NodeManagers, each a process of its own.

Hadoop's servers come in one jar (`make .tools/yarn`) beside the jars of pyspark.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
from bound_process import BoundProcess

from conftest import STARTS_JAVA, wait_for
from machine import TOOLS

JARS = TOOLS / "yarn"
SPARK_HOME = Path(pyspark.__file__).parent
NODES = 2
# Of whatever ends by itself in a minute at most, on a machine that is not busy.
TIMEOUT_S = 600.0
# They are counted, and not set aside: a plan for real machines fits here too.
NODE_MEMORY_MB, NODE_CORES = 65_536, 32
# Of pyspark's jars, what the servers need; the fewer, the faster they start.
TAKEN = (
    "hadoop-client-", "hadoop-yarn-server-web-proxy", "slf4j-api", "log4j-", "commons-logging",
    "jcl-over-slf4j", "jakarta.", "jaxb-runtime", "istack-commons",
)  # fmt: skip
# Guice and cglib, in the servers' web pages, reach into what Java 17 closes.
OPENED = ("java.lang", "java.lang.reflect", "java.util", "java.net", "java.io")
# It has Hadoop's own classes too, of another version.
WITH_NATIVE_CODE = "hadoop-apache-*.jar"
# What containers get of a node's environment.
PASSED_ON = ("JAVA_HOME", "PATH", "LANG", "TZ", "SPARK_LOCAL_IP", STARTS_JAVA)
MACHINES = {"x86_64": "amd64", "aarch64": "aarch64"}
LOG4J = """rootLogger.level = info
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n%ex
"""
SCHEDULER = {
    "root.queues": "default",
    "root.default.capacity": "100",
    "root.default.maximum-capacity": "100",
    "root.default.state": "RUNNING",
    "root.default.acl_submit_applications": "*",
    # The default, a tenth, leaves the driver in a small cluster waiting for ever.
    "maximum-am-resource-percent": "1.0",
}


@dataclass(frozen=True)
class Container:
    """A container of an application: the node that runs it, and where it prints."""

    node: int
    folder: Path

    @property
    def is_driver(self) -> bool:
        """Whether it is the application master's, with the driver: YARN starts it first."""
        return self.folder.name.endswith("_000001")

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""


class Yarn:
    """A ResourceManager and two NodeManagers; folder: their work and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._nodes: dict[int, BoundProcess] = {}
        self._web = _free_address()
        self._site = self._common_site()
        self._write(folder / "conf", {})
        _extract_native_code(folder / "native")
        main = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
        self._resource_manager = self._start("resourcemanager", folder / "conf", main)
        for node in range(NODES):
            self.start_node(node)

    def start_node(self, node: int) -> None:
        """Starts a NodeManager that is not running; `wait` waits for it."""
        conf = self.folder / f"node{node}" / "conf"
        self._write(conf, self._node_site(node))
        main = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
        self._nodes[node] = self._start(f"nodemanager{node}", conf, main)

    def wait(self) -> None:
        """Waits until all nodes can take containers."""
        wait_for(lambda: self._running() == NODES, TIMEOUT_S)

    def kill_node(self, node: int) -> None:
        """Ends a node with all its containers at once, as a Spot instance that is taken."""
        self._nodes.pop(node).end()

    def stop(self) -> None:
        for process in (*self._nodes.values(), self._resource_manager):
            process.end()

    def env(self) -> dict[str, str]:
        """The environment of a spark-submit."""
        conf = str(self.folder / "conf")
        own = {"HADOOP_CONF_DIR": conf, "YARN_CONF_DIR": conf, "SPARK_HOME": str(SPARK_HOME)}
        return {**os.environ, **own, "SPARK_LOCAL_IP": "127.0.0.1", STARTS_JAVA: "yes"}

    def containers(self, application: str) -> list[Container]:
        """What runs or has run of an application, the driver first."""
        found = self.folder.glob(f"node*/logs/{application}/container_*")
        by_name = sorted(found, key=lambda folder: folder.name)
        return [Container(int(each.parts[-4].removeprefix("node")), each) for each in by_name]

    def kill_application(self, application: str) -> None:
        """Ends an application with all its containers."""
        url = f"http://{self._web}/ws/v1/cluster/apps/{application}/state"
        request = urllib.request.Request(  # noqa: S310
            f"{url}?user.name={getpass.getuser()}",
            method="PUT",
            data=b'{"state": "KILLED"}',
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass

    def _running(self) -> int:
        for name, process in self._processes().items():
            assert process.poll() is None, f"{name} has ended: {process.stderr.read_text()[-2000:]}"
        try:
            nodes = self._ask("nodes").get("nodes") or []
        except (OSError, ValueError):  # it does not answer yet
            return 0
        return sum(node["state"] == "RUNNING" for node in nodes)

    def _processes(self) -> dict[str, BoundProcess]:
        nodes = {f"node {node}": process for node, process in self._nodes.items()}
        return {"the ResourceManager": self._resource_manager, **nodes}

    def _ask(self, path: str) -> dict[str, Any]:
        url = f"http://{self._web}/ws/v1/cluster/{path}"
        request = urllib.request.Request(url, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            answer: dict[str, Any] = json.load(reply)
            return answer

    def _start(self, name: str, conf: Path, main: str) -> BoundProcess:
        jars = [jar for jar in JARS.glob("*.jar") if not jar.match(WITH_NATIVE_CODE)]
        of_spark = [
            jar for jar in (SPARK_HOME / "jars").glob("*.jar") if jar.name.startswith(TAKEN)
        ]
        command = [
            str(Path(os.environ["JAVA_HOME"]) / "bin" / "java"),
            "-Xmx256m",
            "-Djava.net.preferIPv4Stack=true",
            f"-Djava.library.path={self.folder}/native",
            f"-Dlog4j2.configurationFile={conf}/log4j2.properties",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
            "-cp",
            ":".join(map(str, (conf, *sorted(jars), *sorted(of_spark)))),
            main,
        ]
        return BoundProcess(command, self.folder, name, self.env())

    def _common_site(self) -> dict[str, str]:
        names = ("address", "scheduler.address", "resource-tracker.address", "admin.address")
        return {
            **{f"yarn.resourcemanager.{name}": _free_address() for name in names},
            "yarn.resourcemanager.hostname": "127.0.0.1",
            "yarn.resourcemanager.webapp.address": self._web,
            "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "200",
            # A lost node shows after this; its applications lose their containers then.
            "yarn.nm.liveness-monitor.expiry-interval-ms": "10000",
            # It runs while a node unpacks archives.
            "yarn.am.liveness-monitor.expiry-interval-ms": "300000",
            "yarn.scheduler.minimum-allocation-mb": "32",
            "yarn.scheduler.maximum-allocation-mb": str(NODE_MEMORY_MB),
            "yarn.nodemanager.resource.memory-mb": str(NODE_MEMORY_MB),
            "yarn.nodemanager.resource.cpu-vcores": str(NODE_CORES),
            # A container that takes more than it asked for is killed; the default leaves that to
            # cgroups, which are not used here. Virtual memory says nothing.
            "yarn.nodemanager.resource.memory.enforced": "false",
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.container-monitor.interval-ms": "500",
            # The disk of a machine of tests may be nearly full.
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
            # Logs stay where they were written until the tests have ended.
            "yarn.nodemanager.delete.debug-delay-sec": "3600",
            "yarn.nodemanager.env-whitelist": ",".join(PASSED_ON),
            "yarn.application.classpath": "",
        }

    def _node_site(self, node: int) -> dict[str, str]:
        names = ("address", "localizer.address", "webapp.address", "collector-service.address")
        own = f"{self.folder}/node{node}"
        return {
            **{f"yarn.nodemanager.{name}": _free_address() for name in names},
            "yarn.nodemanager.hostname": "127.0.0.1",
            "yarn.nodemanager.local-dirs": f"{own}/local",
            "yarn.nodemanager.log-dirs": f"{own}/logs",
        }

    def _write(self, conf: Path, own: dict[str, str]) -> None:
        conf.mkdir(parents=True, exist_ok=True)
        core = {"fs.defaultFS": "file:///", "hadoop.tmp.dir": str(self.folder / "tmp")}
        scheduler = {f"yarn.scheduler.capacity.{name}": value for name, value in SCHEDULER.items()}
        _write_site(conf / "core-site.xml", core)
        _write_site(conf / "yarn-site.xml", {**self._site, **own})
        _write_site(conf / "capacity-scheduler.xml", scheduler)
        (conf / "log4j2.properties").write_text(LOG4J)


def _write_site(path: Path, properties: dict[str, str]) -> None:
    lines = [
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in properties.items()
    ]
    path.write_text("\n".join(["<configuration>", *lines, "</configuration>", ""]))


def _extract_native_code(folder: Path) -> None:
    folder.mkdir()
    (jar,) = JARS.glob(WITH_NATIVE_CODE)
    with zipfile.ZipFile(jar) as archive:
        member = f"nativelib/Linux-{MACHINES[platform.machine()]}/libhadoop.so"
        (folder / "libhadoop.so").write_bytes(archive.read(member))


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
