"""A real SMTP server of the tests: smtp_server.py CERTIFICATE_PEM. Wants STARTTLS and an account (vigie, a pass word).

Prints its port, then each message that it takes as one line of JSON.
"""

import json
import socket
import ssl
import sys
import time
from email import message_from_bytes, policy

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        taken = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "subject": message["subject"],
            "headers": sorted(name.lower() for name in message.keys()),
            "text": message.get_content(),
        }
        print(json.dumps(taken), flush=True)
        return "250 taken"


def account(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"vigie", b"a pass word")
    return AuthResult(success=right, handled=False)


def free_port():
    """The controller tries a connection to its port: it has to be a number first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
controller = Controller(
    Handler(),
    hostname="127.0.0.1",
    port=free_port(),
    tls_context=context,
    require_starttls=True,
    authenticator=account,
    auth_required=True,
)
controller.start()
print(controller.port, flush=True)
while True:
    time.sleep(3600)
