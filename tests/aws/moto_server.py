"""moto's server with what it lacks: CloudFormation for the perimeter, and answers of a test's own.

moto reports a whole template as made and leaves out half of it, so `cloudformation.py` answers for
that service, and makes each resource by moto's direct calls. Five more answers are not moto's:

- A bucket's policy is kept here, and read back as it was put. moto would hold objects against it
  without its conditions, and answer 403 to every one.
- An application of EMR Serverless has the members back that moto drops (architecture, logs).
- An application without jobs has an empty list of them, where moto knows no such application.
- The quotas of EMR Serverless, which moto does not know, are one: `vcpu_quota`.
- AWS's policy for EMR's service role exists, with one statement in place of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from threading import Thread
from typing import Any

import botocore.session
from cloudformation import CloudFormation
from moto.iam.models import ManagedPolicy, iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from template_resources import ACCOUNT
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

Answer = Callable[[Request], Response | None]
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
EMR_POLICY = "AmazonEMRServicePolicy_v2"
# What CreateApplication takes and moto does not keep.
_DROPPED = (
    "architecture",
    "interactiveConfiguration",
    "monitoringConfiguration",
    "schedulerConfiguration",
)


class _Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: a request is no news."""


class MotoServer:
    """A server on this machine, in a thread of this process.

    Attributes
    ----------
    url : str
        Its address.
    cloudformation : CloudFormation
        The interpreter of the template.
    vcpu_quota : float
        How many vCPUs EMR Serverless gives the account.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._application, threaded=True, request_handler=_Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._clients: dict[tuple[str, str], Any] = {}
        self._clear()

    def _clear(self) -> None:
        self.cloudformation = CloudFormation(self.client)
        self._policies: dict[str, bytes] = {}
        self._dropped: dict[str, dict[str, Any]] = {}
        self._answers: list[tuple[str, Answer]] = []
        self.vcpu_quota = 16.0

    def answer(self, service: str, answer: Answer) -> None:
        """Has a function answer for a service before all else, until the next `reset`.

        Parameters
        ----------
        service : str
            Its name in signatures: "emr-serverless", "elasticmapreduce".
        answer : callable
            Gets each request; what it returns is the answer, None leaves it to the next.
        """
        self._answers.insert(0, (service, answer))

    def reset(self) -> None:
        """Forgets everything: an empty account."""
        moto_api_backend.reset()
        self._clear()
        policy = ManagedPolicy(  # type: ignore[abstract]
            EMR_POLICY,
            account_id="aws",
            region="eu-west-1",
            path="/service-role/",
            default_version_id="v1",
            document=json.dumps({"Version": "2012-10-17", "Statement": []}),
        )
        iam_backends[ACCOUNT]["aws"].managed_policies[policy.arn] = policy

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def client(self, service: str, region: str = "eu-west-1") -> Any:
        """A client for the account that holds the perimeter."""
        if (service, region) not in self._clients:
            self._clients[service, region] = botocore.session.get_session().create_client(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id="AKIAEXAMPLE",
                aws_secret_access_key="secret",  # noqa: S106
            )
        return self._clients[service, region]

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        service = scope[3] if scope else ""
        is_policy = service == "s3" and "policy" in request.args
        mine = [answer for name, answer in self._answers if name == service]
        if mine or is_policy or service in ("cloudformation", "emr-serverless"):
            environ["wsgi.input"] = BytesIO(request.get_data())
        for answer in mine:
            response = answer(Request(environ))
            environ["wsgi.input"].seek(0)
            if response is not None:
                return response(environ, start_response)
        if service == "cloudformation":
            return self.cloudformation.answer(Request(environ))(environ, start_response)
        if service == "servicequotas":
            quota = {"QuotaName": "Max concurrent vCPUs per account", "Value": self.vcpu_quota}
            return Response(json.dumps({"Quotas": [quota]}))(environ, start_response)
        if is_policy:
            return self._policy(request)(environ, start_response)
        if service == "emr-serverless" and request.path.startswith("/applications"):
            return self._application_of_emr(request, environ)(environ, start_response)
        return self._moto(environ, start_response)

    def _policy(self, request: Request) -> Response:
        """Puts, gets or deletes the policy of a bucket."""
        bucket = request.path.strip("/")
        if request.method == "PUT":
            self._policies[bucket] = request.get_data()
            return Response(status=204)
        if request.method == "DELETE":
            self._policies.pop(bucket, None)
            return Response(status=204)
        if bucket in self._policies:
            return Response(self._policies[bucket], content_type="application/json")
        body = "<Error><Code>NoSuchBucketPolicy</Code><Message>none</Message></Error>"
        return Response(body, 404, content_type="text/xml")

    def _application_of_emr(self, request: Request, environ: dict[str, Any]) -> Response:
        """Remembers what moto drops of an application, and gives it back."""
        response = Response.from_app(self._moto, environ)
        parts = request.path.strip("/").split("/")
        is_listing = request.method == "GET" and parts[2:] == ["jobruns"]
        if is_listing and response.status_code >= 400 and parts[1] in self._dropped:
            return Response(json.dumps({"jobRuns": []}), content_type="application/json")
        if response.status_code != 200 or len(parts) > 2 or not response.data:
            return response
        answer = response.get_json()
        if request.method in ("POST", "PATCH"):
            given = request.get_json()
            name = parts[1] if len(parts) == 2 else answer["applicationId"]
            kept = {key: given[key] for key in _DROPPED if key in given}
            self._dropped[name] = {**self._dropped.get(name, {}), **kept}
        if "application" in answer:
            answer["application"] |= self._dropped.get(answer["application"]["applicationId"], {})
        return Response(json.dumps(answer), content_type="application/json")
