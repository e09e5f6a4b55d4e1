"""kuberay/rayjob.yaml against a model of our own of the parts of KubeRay's and Kubernetes' schemas that it uses.

The whole schema of the resource has a megabyte, nearly all of it what a pod may be. Here each level names the fields
that may stand there and their types, and any other is an error: a cluster drops a misspelt field without a word.
"""

# ruff: noqa: N815 (fields are called as in the file)

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).parents[1]
FILE = ROOT / "kuberay" / "rayjob.yaml"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SecretKey(Strict):
    name: Name
    key: str


class ValueFrom(Strict):
    secretKeyRef: SecretKey


class Variable(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    valueFrom: ValueFrom | None = None


class SecretReference(Strict):
    name: Name
    optional: bool = False


class VariablesFrom(Strict):
    secretRef: SecretReference


class Resources(Strict):
    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class Port(Strict):
    containerPort: Annotated[int, Field(ge=1, le=65535)]
    name: Annotated[Name, Field(max_length=15)]


class Mount(Strict):
    name: Name
    mountPath: Annotated[str, Field(pattern="^/")]
    readOnly: bool = False


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: bool


class Container(Strict):
    name: Name
    image: str
    resources: Resources
    securityContext: ContainerSecurity
    ports: list[Port] = []
    env: list[Variable] = []
    envFrom: list[VariablesFrom] = []
    volumeMounts: list[Mount]


class Claim(Strict):
    claimName: Name


class ConfigMap(Strict):
    name: Name


class EmptyDir(Strict):
    medium: Literal["", "Memory"] = ""
    sizeLimit: Quantity | None = None


class Volume(Strict):
    name: Name
    persistentVolumeClaim: Claim | None = None
    configMap: ConfigMap | None = None
    emptyDir: EmptyDir | None = None


class Toleration(Strict):
    key: str
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class PodSecurity(Strict):
    runAsNonRoot: bool
    runAsUser: int
    fsGroup: int


class Pod(Strict):
    securityContext: PodSecurity
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]
    terminationGracePeriodSeconds: Annotated[int, Field(ge=0)] = 30
    tolerations: list[Toleration] = []

    @model_validator(mode="after")
    def what_is_mounted_is_there(self) -> Pod:
        there = {volume.name for volume in self.volumes}
        assert {mount.name for one in self.containers for mount in one.volumeMounts} <= there, "a volume is missing"
        return self


class Template(Strict):
    spec: Pod


class Head(Strict):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    rayStartParams: dict[str, str]
    template: Template


class WorkerGroup(Strict):
    groupName: Name
    replicas: Annotated[int, Field(ge=0)]
    minReplicas: Annotated[int, Field(ge=0)]
    maxReplicas: Annotated[int, Field(ge=0)]
    rayStartParams: dict[str, str]
    template: Template

    @model_validator(mode="after")
    def replicas_are_within_bounds(self) -> WorkerGroup:
        assert self.minReplicas <= self.replicas <= self.maxReplicas
        return self


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secretName: Name | None = None


class AutoscalerOptions(Strict):
    idleTimeoutSeconds: Annotated[int, Field(ge=0)]


class RayClusterSpec(Strict):
    rayVersion: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: Head
    workerGroupSpecs: list[WorkerGroup]


class RayJobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    backoffLimit: Annotated[int, Field(ge=0)]
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0)]
    rayClusterSpec: RayClusterSpec


class Metadata(Strict):
    name: Name


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return copy.deepcopy(loaded)


@pytest.fixture
def job(document: dict[str, Any]) -> RayJob:
    return RayJob.model_validate(document)


def pods(job: RayJob) -> list[Pod]:
    cluster = job.spec.rayClusterSpec
    return [cluster.headGroupSpec.template.spec, *(group.template.spec for group in cluster.workerGroupSpecs)]


def test_it_is_a_ray_job(job: RayJob) -> None:
    assert job.spec.entrypoint.startswith("avil-ray sweep /spaces/")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "ttlSecondAfterFinished"), 3),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "nodeselector"), {}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), "8"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), 9),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "volumes"), []),
    ],
)
def test_a_mistake_in_it_is_found(document: dict[str, Any], place: tuple[Any, ...], value: object) -> None:
    inside: Any = document
    for part in place[:-1]:
        inside = inside[part]
    inside[place[-1]] = value
    with pytest.raises(ValidationError):
        RayJob.model_validate(document)


def test_the_image_is_the_tested_rays_everywhere(job: RayJob) -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert job.spec.rayClusterSpec.rayVersion == pinned
    assert {container.image.rpartition(":")[2] for pod in pods(job) for container in pod.containers} == {pinned}
    (base,) = re.findall(r"^FROM (.+)$", (ROOT / "kuberay" / "Dockerfile").read_text(), re.MULTILINE)
    assert base.startswith(f"rayproject/ray:{pinned}-")


def test_the_token_comes_from_a_secret_and_no_secret_stands_in_the_file(job: RayJob) -> None:
    options = job.spec.rayClusterSpec.authOptions
    assert (options.mode, options.secretName) == ("token", "avil-ray-token")
    for pod in pods(job):
        for container in pod.containers:
            names = [one.name for one in container.env if one.value is not None]
            assert not [name for name in names if re.search("TOKEN|PASSWORD|SECRET|KEY", name)]
            assert [one.secretRef.name for one in container.envFrom] == ["avil-ray-secrets"]


def test_nothing_is_reached_from_outside_and_no_pod_is_root(job: RayJob) -> None:
    assert job.spec.rayClusterSpec.headGroupSpec.serviceType == "ClusterIP"
    for pod in pods(job):
        assert pod.securityContext.runAsNonRoot
        assert not any(container.securityContext.allowPrivilegeEscalation for container in pod.containers)


def test_every_pod_sees_the_same_results_and_has_room_for_objects(job: RayJob) -> None:
    for pod in pods(job):
        mounts = {mount.mountPath: mount.name for mount in pod.containers[0].volumeMounts}
        volumes = {volume.name: volume for volume in pod.volumes}
        assert volumes[mounts["/mnt/avil"]].persistentVolumeClaim is not None
        memory = volumes[mounts["/dev/shm"]].emptyDir
        assert memory is not None
        assert memory.medium == "Memory"


def test_every_line_that_a_user_must_edit_is_marked() -> None:
    for line in FILE.read_text().splitlines():
        if "REGISTRY/" in line or "maxReplicas:" in line:
            assert "# EDIT:" in line
