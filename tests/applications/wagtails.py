"""A site of Wagtail as `wagtail start` makes it, in a process of its own: the settings of Django hold for a whole one.

`python -m tests.applications.wagtails FOLDER` asks it and prints, as JSON, what was counted and what was expected.
"""

import importlib
import json
import os
import sys

from red_middleware import RedWSGIMiddleware

from ..routes.asking import faults, fresh, requests
from .asking import Client, wsgi_client


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings.dev"
    importlib.import_module("django").setup()
    importlib.import_module("django.core.management").call_command("migrate", verbosity=0)
    importlib.import_module("django.contrib.auth").get_user_model().objects.create_superuser("boss", password="secret")
    metrics = fresh()
    client = wsgi_client(RedWSGIMiddleware(importlib.import_module("shop.wsgi").application, metrics=metrics))
    ask(client)
    found = {"counted": listed(requests(metrics)), "expected": listed(client.expected), "faults": faults(metrics)}
    print(json.dumps(found))


def ask(client: Client) -> None:
    """Log in as an editor, publish a page, and read the site."""
    client.ask("GET /admin/", "302 /admin/")
    token = client.ask("GET /admin/login/", "200 /admin/login/").cookies["csrftoken"]
    form = {"username": "boss", "password": "secret", "csrfmiddlewaretoken": token, "next": "/admin/"}
    token = client.ask("POST /admin/login/", "302 /admin/login/", data=form).cookies["csrftoken"]
    kind = "<slug:content_type_app_name>/<slug:content_type_model_name>/<int:parent_page_id>"
    page = {
        "csrfmiddlewaretoken": token,
        "title": "Pens",
        "slug": "pens",
        "action-publish": "1",
        "comments-TOTAL_FORMS": "0",
        "comments-INITIAL_FORMS": "0",
    }
    client.ask("POST /admin/pages/add/home/homepage/3/", f"302 /admin/pages/add/{kind}/", data=page)
    client.ask_each(
        {
            "GET /": "200 /<arg>",
            "GET /pens/": "200 /<arg>",
            "GET /pens": "301 _unmatched",
            "GET /nothing/": "404 /<arg>",
            "GET /a/b/c/": "404 /<arg>",
            "GET /no.such": "404 _unmatched",
            "GET /search/": "200 /search/",
            "GET /search/?query=pens": "200 /search/",
            "GET /documents/1/list.txt": "404 /documents/<arg>/<arg>",
            "GET /static/css/shop.css": "200 /static/<path>",
            "GET /django-admin/": "200 /django-admin/",
            "GET /admin": "301 _unmatched",
            "GET /admin/?a=1": "200 /admin/",
            "GET /admin/pages/": "200 /admin/pages/",
            "GET /admin/pages/3/": "200 /admin/pages/<int:parent_page_id>/",
            "GET /admin/pages/3/edit/": "200 /admin/pages/<int:page_id>/edit/",
            "GET /admin/pages/3/history/": "200 /admin/pages/<int:page_id>/history/",
            "GET /admin/pages/add/home/homepage/3/": f"200 /admin/pages/add/{kind}/",
            "GET /admin/images/": "200 /admin/images/",
            "GET /admin/users/": "200 /admin/users/",
            "GET /admin/api/main/pages/": "200 /admin/api/main/pages/",
            "GET /admin/nothing/": "404 /admin/<char>/",  # which Wagtail declares for all that it does not know
        }
    )


def listed(rows: dict[tuple[str, str, str], int]) -> dict[str, int]:
    """Return the rows as JSON can have them."""
    return {" ".join(row): times for row, times in rows.items()}


if __name__ == "__main__":
    main(sys.argv[1])
