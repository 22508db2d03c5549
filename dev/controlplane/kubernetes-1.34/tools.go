//go:build tools

// Package tools pins the Kubernetes program that the dev cluster builds.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
