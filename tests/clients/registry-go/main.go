// A client of a schema registry that is not ours: franz-go registers a schema, writes values with it, reads what Weir published,
// and asks about compatibility.
//
// Usage: registry-go REGISTRY BROKERS produce|consume TOPIC
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

const (
	first = `{"type":"object","title":"Order","required":["id"],"additionalProperties":false,
		"properties":{"id":{"type":"string"},"cents":{"type":"integer"}}}`
	stricter = `{"type":"object","title":"Order","required":["id","cents"],"additionalProperties":false,
		"properties":{"id":{"type":"string"},"cents":{"type":"integer"}}}`
)

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	registry, brokers, what, topic := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	client := must(sr.NewClient(sr.URLs(registry)))
	switch what {
	case "produce":
		produce(ctx, client, brokers, topic)
	case "consume":
		consume(ctx, client, brokers, topic)
	}
}

func produce(ctx context.Context, client *sr.Client, brokers, topic string) {
	subject := topic + "-value"
	created := must(client.CreateSchema(ctx, subject, sr.Schema{Schema: first, Type: sr.TypeJSON}))
	again := must(client.LookupSchema(ctx, subject, sr.Schema{Schema: first, Type: sr.TypeJSON}))
	check := must(client.CheckCompatibility(ctx, subject, -1, sr.Schema{Schema: stricter, Type: sr.TypeJSON}))
	_, refused := client.CreateSchema(ctx, subject, sr.Schema{Schema: stricter, Type: sr.TypeJSON})
	level := client.Compatibility(ctx)[0]
	fmt.Println(created.Version, again.ID == created.ID, check.Is, refused != nil, level.Level)

	var serde sr.Serde
	serde.Register(created.ID, order{}, sr.EncodeFn(json.Marshal))
	producer := must(kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner())))
	defer producer.Close()
	for n := int64(0); n < 3; n++ {
		value := serde.MustEncode(order{ID: fmt.Sprintf("o-%d", n), Cents: 9007199254740993 + n})
		record := &kgo.Record{Key: []byte("k"), Value: value}
		must(producer.ProduceSync(ctx, record).First())
	}
}

func consume(ctx context.Context, client *sr.Client, brokers, topic string) {
	consumer := must(kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic)))
	defer consumer.Close()
	var header sr.ConfluentHeader
	for count := 0; count < 3; {
		fetches := consumer.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			log.Fatal(errs)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			id, value, err := header.DecodeID(record.Value)
			if err != nil {
				log.Fatal(err)
			}
			schema := must(client.SchemaByID(ctx, id))
			fmt.Println(schema.Type, string(value))
			count++
		})
	}
}
