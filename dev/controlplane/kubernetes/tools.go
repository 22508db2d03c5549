//go:build tools

// Package tools pins the Kubernetes programs that the dev cluster and the benchmarks build.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
