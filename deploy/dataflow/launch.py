"""What the Flex Template's launcher starts (FLEX_TEMPLATE_PYTHON_PY_FILE)."""

from pipelines.template import main

main()
