"""The objects inside a notification, typed. Lenient: see `consumers.notifications`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from consumers.values import Code, Flag, Text, Time, find, mapping, text


class Part(BaseModel):
    """An object inside a notification. Keys not named here are in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow", arbitrary_types_allowed=True)
    _spelling: ClassVar[dict[str, str]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Remember how the guide spells each key."""
        super().__pydantic_init_subclass__(**kwargs)
        aliases = [field.alias for field in cls.model_fields.values() if field.alias]
        cls._spelling = {alias.casefold(): alias for alias in aliases}

    @model_validator(mode="before")
    @classmethod
    def _spell(cls, value: object) -> Mapping[str, Any]:
        """Bring known keys to the guide's spelling."""
        values = mapping(value)
        unknown = {k: item for k, item in values.items() if k.casefold() not in cls._spelling}
        return unknown | {name: find(values, name) for name in cls._spelling.values()}


class SendLog(Part):
    """The mailing that failed. `event_type` is `Batch` or `Event` (a single message)."""

    event_type: Text = Field("", alias="EventType")
    send_log: Text = Field("", alias="idSendLog")
    message: Text = Field("", alias="idMessage")
    category: Text = Field("", alias="idMessageCategory")
    processed_at: Time = Field(None, alias="dtProcessed")


class BounceError(Part):
    """What the recipient's server said."""

    mta: Text = Field("", alias="dsnMTA")
    diagnostic: Text = Field("", alias="dsnDiag")
    code: Text = Field("", alias="BounceCode")
    is_invalid_mailbox: Flag = Field(None, alias="isInvalidMailbox")
    bounce_type: Text = Field("", alias="BounceType")


class ProductionError(Part):
    """Why a message was not produced."""

    code: Code = Field(None, alias="ErrorCode")
    message: Text = Field("", alias="ErrorMessage")


class ContactData(Part):
    """A contact's values after the change. Absent and null values are None or empty."""

    created_at: Time = Field(None, alias="dtCreated")
    modified_at: Time = Field(None, alias="dtModified")
    activated_at: Time = Field(None, alias="dtActivated")
    deactivated_at: Time = Field(None, alias="dtDeactivated")
    invalid_mailbox_at: Time = Field(None, alias="dtInvalidMailbox")
    is_active: Flag = Field(None, alias="isActive")
    is_invalid_mailbox: Flag = Field(None, alias="isInvalidMailbox")
    key: Text = Field("", alias="clKey")
    domain: Text = Field("", alias="Domain")

    @property
    def fields(self) -> Mapping[str, Any]:
        """The project's own fields (`f_*`), as sent."""
        return project_fields(self.model_extra or {})


class OptinField(Part):
    """One opt-in field and the date of the contact's decision on it."""

    name: Text = Field("", alias="OptinField")
    date: Time = Field(None, alias="OptinDate")


class QuarantineInfo(Part):
    """The mailing that led to the quarantine, and what the recipient's server said."""

    send_log: Text = Field("", alias="idSendLog")
    message: Text = Field("", alias="idMessage")
    processed_at: Time = Field(None, alias="dtProcessed")
    bounced_at: Time = Field(None, alias="dtBounce")
    delivered_at: Time = Field(None, alias="dtDelivered")
    mta: Text = Field("", alias="dsnMTA")
    diagnostic: Text = Field("", alias="dsnDiag")


class ComplaintInfo(Part):
    """`report` is the whole ARF report (RFC 5965) as text, personal data included."""

    report: Annotated[str, BeforeValidator(lambda v: v if isinstance(v, str) else "")] = Field(
        "", alias="FBL_Report", repr=False
    )


def optin_fields(value: object) -> Sequence[OptinField]:
    """The list in OptinInfo.Fields, or OptinInfo itself: the guide's prose calls it a list."""
    fields = find(value, "Fields") if isinstance(value, Mapping) else value
    entries = fields if isinstance(fields, list) else [fields]
    named = [entry for entry in entries if text(find(mapping(entry), "OptinField"))]
    return tuple(OptinField.model_validate(entry) for entry in named)


def project_fields(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The project's own fields, as sent: the sender marks them with `f_`."""
    return {key: value for key, value in values.items() if key[:2] in ("f_", "F_")}
