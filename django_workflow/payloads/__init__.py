"""Values ⇄ JSON text, by type annotation.

Rules of this package: what is stored is ASCII JSON that depends on the value alone: keys in the value's order, sets in
the order of their items' texts. What is read is a fresh object, never one from a cache. What would come back as
something else is refused at the write, naming the part at fault. No Django, no I/O.

Without an annotation (or with `Any`, `object`) a value is plain JSON (`plain`). Everything else needs an annotation and
is then pydantic's: validated, dumped and, where the type leaves room for doubt, read back and compared (`typed`).

From the bottom: refusals; plain; errors, surrogates, sets and faults; annotations; schemas; typed; codecs; values;
hints; arguments. Each imports only what stands before it.
"""

from django_workflow.payloads.arguments import CallSignature, encode_argument, signature_of
from django_workflow.payloads.errors import decode_error, encode_error
from django_workflow.payloads.plain import decode_plain
from django_workflow.payloads.values import decode, encode

__all__ = [
    "CallSignature",
    "decode",
    "decode_error",
    "decode_plain",
    "encode",
    "encode_argument",
    "encode_error",
    "signature_of",
]
