"""The data that a report's page holds."""

import json
import re


def embedded(content: bytes, name: str):
    return json.loads(
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>'.encode(), content, re.DOTALL)[1]
    )
