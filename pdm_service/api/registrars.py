"""The routes about registrars, on /v1 and in the words of the existing provisioner."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from adapters.base import About, Validation
from pdm_service import names, shares
from pdm_service.allocator.customer_domains import CustomerDomains
from pdm_service.api.access import CHECK, REGISTRAR
from pdm_service.api.domains import rrsets
from pdm_service.api.problems import CALLED, documented
from pdm_service.api.replies import actor
from pdm_service.byo import zonefile
from pdm_service.byo.bare_change import BareChanges
from pdm_service.callers import Rates
from pdm_service.callers.gate import calling
from pdm_service.registrars import Asked, Registrars
from pdm_service.wire import (
    Abilities,
    CompatSetNsRequest,
    CompatValidateRequest,
    RegistrarReply,
    RegistrarsReply,
    SetNsReply,
    ValidateReply,
    ValidateRequest,
)

_TESTED = (400, 401, 403, 404, 409, 413, 415, 422, 429, 502)


def handlers(registrars: Registrars, customer_domains: CustomerDomains, rates: Rates) -> list[HTTPRouteHandler]:
    """Return the routes on /v1."""

    @post("/v1/validate", status_code=200, responses=documented(*_TESTED, 503), opt=REGISTRAR)
    async def validate(data: JSONBody[ValidateRequest]) -> ValidateReply:
        rates.take(calling.get(), "preflights")
        found = await customer_domains.validate(
            data.registrar, data.domain, data.token, actor(), transfer=data.zone_transfer
        )
        reply = _validated(found.asked, found.found)
        reply.problems = list(found.findings) or None
        if found.old:
            reply.records = rrsets(found.old.rrsets) or None
            reply.zonefile = zonefile.write(found.old)
        return reply

    @get("/v1/registrars", responses=documented(*CALLED), opt=CHECK)
    async def list_registrars() -> RegistrarsReply:
        return RegistrarsReply(registrars=[_about(about) for about in registrars.about()])

    return [validate, list_registrars]


def compat_handlers(registrars: Registrars, bare_changes: BareChanges) -> list[HTTPRouteHandler]:
    """Return the compatibility routes."""

    @post("/api/v1/registrar/{registrar:str}/validate", status_code=200, responses=documented(*_TESTED), opt=REGISTRAR)
    async def compat_validate(registrar: FromPath[str], data: JSONBody[CompatValidateRequest]) -> ValidateReply:
        shares.begin(shares.whose(actor().name), data.domain or "", waits=True)
        return _validated(*await registrars.validate(registrar, data.domain, data.token))

    @post("/api/v1/registrar/{registrar:str}/set-ns", status_code=200, responses=documented(*_TESTED), opt=REGISTRAR)
    async def compat_set_ns(registrar: FromPath[str], data: JSONBody[CompatSetNsRequest]) -> SetNsReply:
        shares.begin(shares.whose(actor().name), data.domain or "", waits=True)
        asked, changed = await bare_changes.set_nameservers(
            registrar,
            data.domain,
            data.token,
            data.nameservers,
            acknowledged=data.acknowledge,
            addresses=[data.glue_ip] if isinstance(data.glue_ip, str) else data.glue_ip or (),
        )
        return SetNsReply(
            success=True,
            registrar=asked.registrar,
            domain=asked.domain,
            unicode=names.unicode(asked.domain),
            nameservers=list(changed.nameservers),
            propagation=changed.propagation,
            pending=changed.pending,
        )

    return [compat_validate, compat_set_ns]


def _validated(asked: Asked, found: Validation) -> ValidateReply:
    return ValidateReply(
        valid=True,
        registrar=asked.registrar,
        domain=asked.domain,
        unicode=names.unicode(asked.domain),
        nameservers=list(found.nameservers),
        can_set_nameservers=found.can_set_nameservers,
        warnings=list(found.warnings),
    )


def _about(about: About) -> RegistrarReply:
    return RegistrarReply(
        name=about.name,
        title=about.title,
        token_form=about.token_form,
        token_url=about.token_url,
        abilities=Abilities(
            set_nameservers=about.sets_nameservers,
            tells_permission=about.tells_permission,
            read_ds=about.reads_ds,
            set_ds=about.sets_ds,
            asynchronous=about.asynchronous,
        ),
        propagation=about.propagation,
        notes=list(about.notes),
    )
