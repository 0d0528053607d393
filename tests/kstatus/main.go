// kstatus reads one Kubernetes object as JSON per line, and prints for each what kstatus makes of it, as JSON.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			log.Fatal(err)
		}
		computed, err := status.Compute(object)
		if err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(map[string]string{"status": computed.Status.String(), "message": computed.Message}); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
