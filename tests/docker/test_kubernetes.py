"""docker/kubernetes, rendered by kubectl and held against the schemas of Kubernetes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from offline.cli import cli
from service.settings import PREFIX, Settings
from tests.docker.written import ROOT, compose

KUBERNETES_VERSION = "1.31.0"
FOLDER = ROOT / "docker/kubernetes"
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with secrets, as docker/make_secrets.sh makes them for a cluster."""
    copy = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(FOLDER, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("secrets"))
    command = ["sh", str(ROOT / "docker/make_secrets.sh"), str(copy / "base/secrets")]
    subprocess.run(command, env={"REDIS_ADDRESS": "mmgrec-redis:6379/0", "PATH": "/usr/bin:/bin"}, check=True)
    return copy


def rendered(folder: Path) -> Objects:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here (apt-get install kubernetes-client)")
    told = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    if "kustomizeVersion" not in told.stdout:  # Debian 12 has 1.20, with a kustomize of 2019
        pytest.skip("this kubectl is older than 1.24, and its kustomize knows neither folders nor patches by path")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def base(folder: Path) -> Objects:
    return rendered(folder / "base")


@pytest.fixture(scope="module")
def gpu(folder: Path) -> Objects:
    return rendered(folder / "overlays/gpu")


def pod(found: dict[str, Any]) -> dict[str, Any]:
    spec = found["spec"]
    spec = spec["jobTemplate"]["spec"] if found["kind"] == "CronJob" else spec
    template: dict[str, Any] = spec["template"]["spec"]
    return template


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet", "CronJob")
    return {name: pod(found) for (kind, name), found in objects.items() if kind in kinds}


@pytest.mark.parametrize("which", ["base", "gpu"])
def test_kubernetes_knows_every_field(which: str, request: pytest.FixtureRequest) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    objects: Objects = request.getfixturevalue(which)
    assert {kind for kind, _ in objects} >= {
        *("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "CronJob", "StatefulSet"),
        *("NetworkPolicy", "PersistentVolumeClaim", "ConfigMap", "Secret"),
    }
    for found in objects.values():
        validate.validate(found, KUBERNETES_VERSION, strict=True)


def test_the_validation_would_see_a_field_that_is_not_there() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, KUBERNETES_VERSION, strict=True)


def test_everybody_is_confined(base: Objects) -> None:
    found = pods(base)
    assert set(found) == {"mmgrec-service", "mmgrec-redis", "mmgrec-retrain", "mmgrec-load-histories", "mmgrec-desk"}
    for name, spec in found.items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, f"{name}: MMGREC_PORT would be set to tcp://..."
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in spec["containers"]:
            wanted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["securityContext"] == wanted, name
            assert {"requests", "limits"} <= set(container["resources"]), name


def test_names_of_secrets_and_settings_lead_to_what_is_there(base: Objects) -> None:
    """Kustomize adds a hash to the names; whoever uses them must have been renamed with them."""
    for name, spec in pods(base).items():
        secrets = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
        maps = [source["configMapRef"]["name"] for each in spec["containers"] for source in each.get("envFrom", [])]
        assert secrets, name
        assert all(("Secret", secret) in base for secret in secrets), name
        assert all(("ConfigMap", found) in base for found in maps), name
        mounted = {f"/run/secrets/mmgrec/{file}" for secret in secrets for file in base["Secret", secret]["data"]}
        used = {each["value"] for container in spec["containers"] for each in container.get("env", [])}
        assert {value for value in used if value.startswith("/run/secrets")} <= mounted, name


def test_the_service_gets_the_secrets_that_it_gets_from_the_compose_file(base: Objects) -> None:
    (secret,) = [
        found for (kind, name), found in base.items() if kind == "Secret" and name.startswith("mmgrec-service")
    ]
    assert set(secret["data"]) == set(compose()["services"]["service"]["secrets"])


def test_every_variable_is_a_setting(gpu: Objects) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for container in pods(gpu)["mmgrec-service"]["containers"]:
        named = {each["name"] for each in container["env"]}
        assert {name.removesuffix("_FILE") for name in named if name not in known} <= known
    (settings,) = [found for (kind, _), found in gpu.items() if kind == "ConfigMap"]
    assert set(settings["data"]) <= known


def test_probes_ask_what_they_should(base: Objects) -> None:
    (container,) = pods(base)["mmgrec-service"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live", "no Redis, no release: no restart"
    assert container["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    leaving = (
        Settings.model_fields["drain_grace_seconds"].default + Settings.model_fields["drain_limit_seconds"].default
    )
    assert pods(base)["mmgrec-service"]["terminationGracePeriodSeconds"] > leaving


def test_it_scales_by_the_queue(base: Objects) -> None:
    scaler = base["HorizontalPodAutoscaler", "mmgrec-service"]["spec"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "mmgrec_queue_depth"
    assert scaler["minReplicas"] == 2
    assert "replicas" not in base["Deployment", "mmgrec-service"]["spec"]
    rules = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert [rule["seriesQuery"].partition("{")[0] for rule in rules] == ["mmgrec_queue_depth"]


def test_a_run_that_was_refused_is_not_tried_again(base: Objects) -> None:
    job = base["CronJob", "mmgrec-retrain"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    rules = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"] == [[2, 3, 4]]
    assert job["jobTemplate"]["spec"]["backoffLimit"] == 3
    for name in ("mmgrec-load-histories", "mmgrec-desk"):
        assert base["CronJob", name]["spec"]["suspend"] is True, "by hand alone"


def test_the_jobs_have_arguments_that_exist(base: Objects) -> None:
    for name, command in (("mmgrec-retrain", "retrain"), ("mmgrec-load-histories", "load-histories")):
        (container,) = pods(base)[name]["containers"]
        job, *flags = container["args"]
        assert job == command
        known = {option for each in get_command(cli).commands[job].params for option in each.opts}
        assert set(flags[::2]) <= known


def test_every_job_reaches_redis(base: Objects) -> None:
    allowed = base["NetworkPolicy", "mmgrec-redis"]["spec"]["ingress"][0]["from"][0]["podSelector"]
    for kind, name in base:
        if kind == "CronJob":
            labels = base[kind, name]["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] in allowed["matchExpressions"][0]["values"], name


def test_the_desk_has_all_that_the_jobs_have(base: Objects) -> None:
    """What docs/operations.md runs there: the dataset comes in, `rollback`, `releases save`."""
    desk, retrain = (pods(base)[name] for name in ("mmgrec-desk", "mmgrec-retrain"))
    assert desk["volumes"] == retrain["volumes"]
    for part in ("image", "env", "envFrom", "volumeMounts", "securityContext"):
        assert desk["containers"][0][part] == retrain["containers"][0][part], part
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    jobs = re.findall(r"^kubectl exec job/desk -- python -m offline (\w+)", page, re.MULTILINE)
    assert {"rollback", "releases"} <= set(jobs) <= set(get_command(cli).commands)
    started = re.findall(r"^kubectl create job --from=cronjob/(\S+)", page, re.MULTILINE)
    assert {("CronJob", name) for name in started} <= set(base)


def test_the_gpu_overlay_gives_every_replica_a_gpu_and_the_image_for_it(base: Objects, gpu: Objects) -> None:
    for name in ("mmgrec-service", "mmgrec-retrain"):
        (container,) = pods(gpu)[name]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert "memory" in container["resources"]["limits"], "the patch adds to the limits"
    (container,) = pods(gpu)["mmgrec-service"]["containers"]
    assert container["image"] == "mmgrec-service:gpu"
    assert pods(gpu)["mmgrec-retrain"]["containers"][0]["image"] == "mmgrec-offline:latest"
    assert {"name": "MMGREC_DEVICE", "value": "cuda"} in container["env"]
    assert len(container["env"]) == len(pods(base)["mmgrec-service"]["containers"][0]["env"]) + 1


@pytest.mark.parametrize("registry", ["registry.example/team", "registry.example:5000"])
def test_the_gpu_overlay_takes_its_image_from_the_registry_of_the_base(
    folder: Path, tmp_path: Path, registry: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    settings = tmp_path / "base/kustomization.yaml"
    text = settings.read_text()
    for name in ("mmgrec-service", "mmgrec-offline"):
        assert f"newName: {name}\n    newTag: latest" in text
        text = text.replace(f"newName: {name}\n    newTag: latest", f'newName: {registry}/{name}\n    newTag: "0.9"')
    settings.write_text(text)
    found = pods(rendered(tmp_path / "overlays/gpu"))
    assert found["mmgrec-service"]["containers"][0]["image"] == f"{registry}/mmgrec-service:gpu"
    assert found["mmgrec-retrain"]["containers"][0]["image"] == f"{registry}/mmgrec-offline:0.9"
