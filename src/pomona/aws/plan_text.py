"""A plan as a person reads it: the ways to run, the chosen one's arithmetic, what it covers."""

from __future__ import annotations

from collections.abc import Iterator

from pomona.aws.estimate import HOUR_S, images_per_core_s
from pomona.aws.fleet import EMR_SERVERLESS
from pomona.aws.old_script import IMAGES, INSTANCE, MINUTES, NODES
from pomona.aws.plan import Candidate, Plan, usd
from pomona.aws.prices import CURRENCY, PUBLISHED, serverless
from pomona.aws.speeds import time_of
from pomona.aws.workload import Requests, requests
from pomona.progress import count, duration

WIDTH = 52


def in_words(plan: Plan) -> str:
    """Returns the text for a person.

    Parameters
    ----------
    plan : Plan
        The plan.
    """
    return "\n".join(
        [*_head(plan), "", *_table(plan), "", *_arithmetic(plan), "", *_spread(plan), *_end(plan)]
    )


def _head(plan: Plan) -> Iterator[str]:
    work, prices = plan.workload, plan.prices
    side = round(work.image_pixels**0.5)
    yield (
        f"{count(work.images, 'image')}, {_bytes(work.size_bytes)}, on average {side:,} x {side:,} "
        f"pixels and {_bytes(work.image_bytes)}"
    )
    yield from work.assumptions
    origin = "AWS's own lists" if prices.origin == "aws" else "pomona's table, not from AWS"
    yield (
        f"Prices in {prices.region}, in {CURRENCY} as AWS bills, without VAT; of {prices.date}, "
        f"from {origin}."
    )


def _table(plan: Plan) -> Iterator[str]:
    yield f"   {'':{WIDTH}} {'images/s':>8} {'minutes':>8} {CURRENCY:>7}  {'from - to':>13}"
    within: list[Candidate] = []
    over: list[Candidate] = []
    for each in plan.candidates:
        if each.fleet.service == EMR_SERVERLESS:
            (within if each.fleet.vcpus <= plan.wishes.max_vcpus else over).append(each)
    for each in within:
        yield _row(each, chosen=each is plan.chosen)
    if over:
        yield f"   over the application's {plan.wishes.max_vcpus} vCPUs; raise MaximumVcpus first:"
        yield from (_row(each) for each in over)
    yield "   for comparison, the cheapest cluster of each kind; pomona cannot start these:"
    yield from (_row(each) for each in _cheapest_clusters(plan))


def _cheapest_clusters(plan: Plan) -> list[Candidate]:
    """The cheapest cluster of each family and precision."""
    cheapest: dict[tuple[str, str], Candidate] = {}
    for each in plan.candidates:
        if each.fleet.service == EMR_SERVERLESS:
            continue
        key = (each.fleet.speed.machine, each.fleet.speed.precision)
        if key not in cheapest or each.cost_usd < cheapest[key].cost_usd:
            cheapest[key] = each
    return list(cheapest.values())


def _row(each: Candidate, *, chosen: bool = False) -> str:
    prices = f"{_amount(each.best.cost_usd)} - {_amount(each.worst.cost_usd)}"
    return (
        f"{'->' if chosen else '  '} {each.fleet.name:{WIDTH}} {each.expected.images_per_s:8,.0f} "
        f"{each.minutes:8,.1f} {_amount(each.cost_usd):>7}  {prices:>13}"
    )


def _arithmetic(plan: Plan) -> Iterator[str]:
    """The chosen plan, so that a reader can work it out again."""
    chosen, work, prices = plan.chosen, plan.workload, plan.prices
    fleet, expected = chosen.fleet, chosen.expected
    start, finish, wait = (
        time_of("serverless", name).value for name in ("start_s", "finish_s", "wait_s")
    )
    hours = expected.billed_s / HOUR_S
    vcpu, gigabyte = (
        prices[serverless(fleet.architecture, unit)].usd for unit in ("vcpu_hour", "gb_hour")
    )
    executors = fleet.executors * fleet.executor.vcpus
    per_core = images_per_core_s(fleet.speed, work)
    yield f"Chosen: {plan.wishes.rule}. How it is worked out:"
    yield (
        f"  speed     {executors} vCPUs of executors, {fleet.speed.cores_per_vcpu:g} core each, x "
        f"{per_core:.1f} images/s of a core = {expected.images_per_s:,.0f} images/s"
    )
    yield (
        f"  time      {start:.0f} s start + {count(work.images, 'image')} / "
        f"{expected.images_per_s:,.0f} + {finish:.0f} s end = {expected.billed_s:,.0f} s billed; "
        f"+ {wait:.0f} s wait = {chosen.minutes:,.1f} minutes"
    )
    yield (
        f"  compute   {hours:.4g} h x ({fleet.vcpus} vCPUs x {vcpu:g} + {fleet.memory_gb} GB x "
        f"{gigabyte:g}) = {usd(expected.items['compute'])}; the driver has {fleet.driver.vcpus} of "
        "the vCPUs"
    )
    yield _requests_line(plan, requests(work))
    yield f"  together  {usd(chosen.cost_usd)}"


def _requests_line(plan: Plan, made: Requests) -> str:
    items = plan.chosen.expected.items
    get, put = plan.prices["s3.get"].usd * 1000, plan.prices["s3.put"].usd * 1000
    return (
        f"  requests  {made.gets:,} GET x {get:g}/1,000 + {made.puts:,} PUT x {put:g}/1,000 = "
        f"{usd(items['requests'])}; key {usd(items['kms'])}; audit {usd(items['audit'])}"
    )


def _spread(plan: Plan) -> Iterator[str]:
    chosen = plan.chosen
    speed = chosen.fleet.speed
    yield (
        f"From {usd(chosen.best.cost_usd)} and {duration(chosen.best.seconds)} to "
        f"{usd(chosen.worst.cost_usd)} and {duration(chosen.worst.seconds)}: a core does "
        f"{speed.low:g} to {speed.high:g} images/s ({speed.basis}: {speed.why}), and AWS "
        "takes more or less time to provide machines."
    )
    used = [serverless(chosen.fleet.architecture, unit) for unit in ("vcpu_hour", "gb_hour")]
    used += ["s3.get", "s3.put", "kms.request", "cloudtrail.event"]
    unread = [name for name in used if plan.prices[name].basis != PUBLISHED]
    if unread:
        yield f"Not read from a list of AWS: the prices of {', '.join(unread)}."
    budget = plan.wishes.budget_usd
    if budget is not None and chosen.worst.cost_usd > budget:
        yield f"At worst it costs more than the budget of {usd(budget)}."


def _end(plan: Plan) -> Iterator[str]:
    yield (
        "Not covered: uploading and packing, VAT, and "
        f"{usd(plan.month_usd)} a month for images and store in the buckets."
    )
    single, packed = (usd(plan.requests_usd(packed=each)) for each in (False, True))
    yield (
        f"Requests, key and audit cost {packed} with the images in a pack, and {single} with each "
        f"as an object of its own. The plan takes {'the pack' if plan.workload.packed else 'these'}"
        "; `pomona pack` makes one."
    )
    if plan.comparison is not None:
        old = plan.comparison
        yield (
            f"The script that pomona replaces took {MINUTES} minutes for {IMAGES:,} images on "
            f"{NODES} x {INSTANCE} On-Demand: {usd(old.compute_usd)} for EC2 + "
            f"{usd(old.emr_usd)} for EMR = {usd(old.cost_usd)}."
        )


def _amount(amount: float) -> str:
    return usd(amount).removesuffix(f" {CURRENCY}")


def _bytes(size: float) -> str:
    """A size with three digits: 338 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
