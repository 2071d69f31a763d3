#!/usr/bin/env bash
# Writes what is made from something else: the chart's copies of crds/, and manifests/install.yaml
# from the chart. With a folder as its argument it writes install.yaml there, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-manifests}
helm=${HELM:-.cluster/bin/helm}
[ -x "$helm" ] || { echo "no helm at '$helm': name one in HELM, or run 'make cluster', which builds it" >&2; exit 1; }

[ $# -gt 0 ] || cp crds/*.yaml charts/anchorhold/files/crds/

# No image has this digest: what is applied as it is stays without a controller, and runs nothing.
placeholder=example.com/anchorhold@sha256:$(printf '0%.0s' {1..64})
{
  cat <<HEADER
# Anchorhold without Helm. Made from charts/anchorhold by charts/generate.sh: do not edit.
#
# The controller's image is yours to name, by digest. As it stands it is a placeholder that no
# registry has, with which all is installed but no controller starts:
#
#   IMAGE=registry.example.com/anchorhold@sha256:...
#   sed "s|$placeholder|\$IMAGE|" manifests/install.yaml |
#     kubectl apply --server-side -f -
#
# Then onboard a namespace with the chart anchorhold-tenant (\`helm template\` it if you have no
# Helm in the cluster). To remove Anchorhold: \`kubectl delete -f\` this file, which deletes the CRDs
# and with them every AgentRun and AgentPolicy.
HEADER
  "$helm" template anchorhold charts/anchorhold --namespace anchorhold-system \
    --set createNamespace=true --set image.reference="$placeholder" |
    grep -v '^# Source: '
} >"$target/install.yaml"
