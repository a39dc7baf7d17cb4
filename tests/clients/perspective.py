"""The client of Google, built with the one-line change of docs/serving.md."""

import sys

from googleapiclient import discovery
from googleapiclient.errors import HttpError

TEXT = "You are an idiot."


def main(address: str, busy: str) -> None:
    client = discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey="none",
        discoveryServiceUrl=f"{address}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )
    body = {"comment": {"text": TEXT}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]}
    toxicity = analyze(client, body | {"spanAnnotations": True})["attributeScores"]["TOXICITY"]
    assert toxicity["summaryScore"]["value"] > 0.9
    highest = max(toxicity["spanScores"], key=lambda span: span["score"]["value"])
    assert "idiot" in TEXT[highest["begin"] : highest["end"]]
    kind = body | {"comment": {"text": "Have a nice day."}}
    assert analyze(client, kind)["attributeScores"]["TOXICITY"]["summaryScore"]["value"] < 0.5
    above = kind | {"requestedAttributes": {"TOXICITY": {"scoreThreshold": 0.9}}}
    assert "TOXICITY" not in analyze(client, above).get("attributeScores", {})
    assert status(client, body | {"comment": {"text": ""}}) == 400
    print("the one-line change; score, spans, `scoreThreshold`; an empty comment is an error 400")


def status(client, body):
    try:
        analyze(client, body)
    except HttpError as error:
        return error.status_code
    return 200


def analyze(client, body):
    return client.comments().analyze(body=body).execute()


main(*sys.argv[1:])
