// CoreDNS with only the plugins a test cluster needs: the full build compiles cloud SDKs for several minutes.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// The order in which a query passes through the plugins.
func init() {
	dnsserver.Directives = []string{
		"reload", "health", "ready", "errors", "cache", "kubernetes", "loop", "forward",
	}
}

func main() {
	coremain.Run()
}
