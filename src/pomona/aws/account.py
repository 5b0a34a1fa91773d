"""An account of AWS in one region of Europe: the one way to every call but those for objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pomona.aws import europe
from pomona.errors import CloudError
from pomona.s3.region_guard import EEA, is_aws, is_loopback

ATTEMPTS = 6
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 60.0


class Account:
    """The account that AWS's own settings name (AWS_PROFILE and the like), in one region.

    Parameters
    ----------
    region : str, optional
        The region; None: the one that AWS's settings name.

    Attributes
    ----------
    region, partition : str
        Where the calls go.

    Raises
    ------
    CloudError
        If botocore is missing, no region is named, or it is outside of the European Economic Area.
    """

    def __init__(self, region: str | None = None) -> None:
        try:
            import botocore.session
        except ModuleNotFoundError as exc:
            raise CloudError('botocore is not installed: pip install "pomona[aws]"') from exc
        from pomona.aws.errors import translate

        self._session = botocore.session.get_session()
        with translate():
            # botocore does not read AWS_REGION, as AWS's other tools do.
            chosen = (
                region
                or os.environ.get("AWS_REGION")
                or self._session.get_config_variable("region")
            )
            if chosen is None:
                raise CloudError(
                    "no region is chosen: give `region`, or set AWS_REGION; in the European "
                    f"Economic Area there are {', '.join(EEA)}"
                )
        self.region: str = chosen
        self.partition = europe.PARTITIONS.get(chosen, "aws")
        europe.check_region(chosen)
        self._clients: dict[str, Any] = {}

    def call(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        """Returns AWS's answer to one request.

        Parameters
        ----------
        service : str
            botocore's name of it, such as "emr-serverless".
        operation : str
            The method of botocore's client, such as "start_job_run".
        **request
            Its parameters.

        Raises
        ------
        CloudError
            If AWS refuses it or cannot be reached; `reason` says why, in one word.
        """
        from pomona.aws.errors import translate

        with translate(service, operation):
            answer: dict[str, Any] = getattr(self._client(service), operation)(**request)
        return answer

    def pages(self, service: str, operation: str, key: str, **request: Any) -> Iterator[Any]:
        """Yields the members of a list that AWS gives in pages.

        Parameters
        ----------
        service, operation : str
            As for `call`.
        key : str
            The name of the list in the answers.
        **request
            Its parameters.

        Raises
        ------
        CloudError
            As by `call`.
        """
        from pomona.aws.errors import translate

        with translate(service, operation):
            for page in self._client(service).get_paginator(operation).paginate(**request):
                yield from page.get(key, ())

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            from botocore.config import Config

            config = Config(
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                user_agent_extra="pomona",
            )
            client = self._session.create_client(service, region_name=self.region, config=config)
            _check_endpoint(service, client.meta.endpoint_url)
            self._clients[service] = client
        return self._clients[service]


def _check_endpoint(service: str, endpoint: str) -> None:
    """Raises CloudError for an endpoint that is neither AWS's own nor on this machine."""
    if not (is_aws(endpoint) and endpoint.startswith("https:")) and not is_loopback(endpoint):
        name = "AWS_ENDPOINT_URL" if "AWS_ENDPOINT_URL" in os.environ else "the AWS settings"
        raise CloudError(
            f"the endpoint of {service} is neither AWS's own nor on this machine, or is not "
            f"encrypted: check {name}",
            "guard",
        )
